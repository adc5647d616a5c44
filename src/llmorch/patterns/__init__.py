"""Common shapes of workflows, each a small function that returns one: read it, use it, or copy it and change it."""

from .best_of_n import Best, best_of_n
from .chain import chain
from .critic_loop import Verdict, critic_loop
from .map_reduce import map_reduce
from .panel import panel
from .planner_responder_critic import planner_responder_critic
from .router import router

__all__ = [
    "Best",
    "Verdict",
    "best_of_n",
    "chain",
    "critic_loop",
    "map_reduce",
    "panel",
    "planner_responder_critic",
    "router",
]
