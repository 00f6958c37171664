"""Comparisons of candidate and stable that may be read after every interval, for as long as one likes. Pure.

A usual test answers once, after a number of requests that was fixed before. Read at every interval until it says
"worse", it says so of most good versions sooner or later. Here every question has an e-process instead: evidence that
starts at 1 and whose expectation never rises above 1, at no stopping time, while the version is not worse. Ville's
inequality bounds the chance that it ever reaches 1 / (1 - confidence) by 1 - confidence, however often one looks.

`errorrate` compares error rates, `quantile` quantiles of histograms, `mean` means. Each has a State of increments, a
`compare` that turns it into an `outcome`, and margins from `margin`. `analysis.comparing` asks them for verdicts.
"""
