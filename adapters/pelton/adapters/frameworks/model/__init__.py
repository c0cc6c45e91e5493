"""An agent without a framework: a model's endpoint, a system prompt, and tools in Python."""

from __future__ import annotations

from pelton.adapters.frameworks.model.adapter import ModelAdapter as ModelAdapter
from pelton.adapters.frameworks.model.endpoint import Endpoint as Endpoint
from pelton.adapters.frameworks.model.tools import Tool as Tool
from pelton.adapters.frameworks.model.tools import tool as tool
