"""Names of the ways to initialize weights. ``models/initial.py`` computes them."""

INITIAL = ("glorot", "he", "lecun", "orthogonal", "dirac", "zeros")
"""``glorot``: uniform (Glorot and Bengio 2010, equation 16). ``he``: normal (He et al. 2015,
equation 10). ``lecun``: normal with variance 1 / inputs (LeCun et al. 1998, equation 16).
``orthogonal``: Saxe et al. 2014. ``dirac``: the first filters pass their channel through (Zagoruyko
and Komodakis 2017); the others are uniform within 1 / √inputs. ``zeros``: all zero."""
