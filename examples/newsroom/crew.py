"""A crew of CrewAI that writes: the agent `writers` of this newsroom.

CrewAI has an environment of its own (`pelton adapters install crewai`), in which this is imported.
"""

import importlib
import os
from typing import Any

crewai: Any = importlib.import_module("crewai")  # a name that strict checkers need not know

llm: Any = crewai.LLM(
    model=f"openai/{os.environ.get('MODEL', 'gpt-5-mini')}",
    base_url=os.environ.get("OPENAI_BASE_URL"),
    api_key=os.environ["OPENAI_API_KEY"],
    max_retries=0,  # pelton tries again, and the log knows how often
    stream=True,
)
writer: Any = crewai.Agent(role="writer", goal="a short article", backstory="You write.", llm=llm)
checker: Any = crewai.Agent(role="checker", goal="no mistakes", backstory="You check.", llm=llm)
crew: Any = crewai.Crew(
    agents=[writer, checker],
    tasks=[
        crewai.Task(description="{message}", expected_output="an article", agent=writer),
        crewai.Task(description="Check it.", expected_output="the article", agent=checker),
    ],
)
