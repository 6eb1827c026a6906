"""A local WillSuite: the documented API over real HTTP, with state and scripted faults.

For the demo, the tests and the benchmarks; nothing of the product imports it. What it assumes
beyond the vendor's pages is listed in `ASSUMPTIONS.md` beside this file.
"""
