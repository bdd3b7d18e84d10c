r"""Character language models: train one on a text, see how good it is, let it write.

>>> import recurra
>>> from recurra import lm
>>> from recurra.text import Vocabulary, split
>>> _ = recurra.manual_seed(0)
>>> text = "to be or not to be\n" * 40
>>> vocabulary = Vocabulary.of(text)
>>> model = lm.CharLM(vocabulary, lm.LMConfig(hidden=32, embedding=8))
>>> train, validation = split(vocabulary.encode(text), 0.1)
>>> config = lm.TrainConfig(epochs=20, batch=4, window=16, lr=0.02)
>>> for report in lm.fit(model, train, validation, config):
...     pass
>>> report.validation.bits < 0.5
True
>>> "".join(lm.write(model, "to be", length=13, temperature=0))
' or not to be'

Letters: `B` texts side by side, `T` characters of each, `V` characters in the vocabulary.
"""

from recurra.lm.files import load as load
from recurra.lm.files import save as save
from recurra.lm.model import CharLM as CharLM
from recurra.lm.model import LMConfig as LMConfig
from recurra.lm.model import Score as Score
from recurra.lm.model import evaluate as evaluate
from recurra.lm.training import Report as Report
from recurra.lm.training import TrainConfig as TrainConfig
from recurra.lm.training import fit as fit
from recurra.lm.writing import write as write
