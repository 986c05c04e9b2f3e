"""decoct boils an unlabelled image data set down to a few images that pre-train good encoders.

Images --teacher--> Targets --experts--> Trajectories --method--> DistilledSet
       --pretrain--> Encoder --probe--> Scores

Names are loaded when they are first used; `__init__.pyi` says where each comes from.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
