"""Published methods as named recipes: what they are made of, and what is known of them.

A file holds a family, and says in `__all__` which names it has: all of them are names of
`casim.methods`. `casim.methods.order` lists the methods.
"""

from casim.methods.branching import *
from casim.methods.counterfactual import *
from casim.methods.critics import *
from casim.methods.forking import *
from casim.methods.groups import *
from casim.methods.grpo import *
from casim.methods.hindsight import *
from casim.methods.information import *
from casim.methods.judged import *
from casim.methods.learned import *
from casim.methods.mechanisms import *
from casim.methods.method import *
from casim.methods.order import *
from casim.methods.reinforce import *
from casim.methods.soft import *
from casim.methods.stale import *
from casim.methods.teams import *
from casim.methods.tokens import *
from casim.methods.trees import *
from casim.methods.turns import *
