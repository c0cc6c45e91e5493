"""How four providers' endpoints speak: the dialects of a scripted model, as data.

Anthropic Messages, OpenAI Chat Completions and Responses, Gemini generateContent. Only what clients
need to go on is spelled out.
"""

from __future__ import annotations

from typing import Final

from pelton.testing.dialects.anthropic import MESSAGES
from pelton.testing.dialects.gemini import GENERATE
from pelton.testing.dialects.openai import CHAT, RESPONSES

DIALECTS: Final = (MESSAGES, CHAT, RESPONSES, GENERATE)
"""All that there are."""
