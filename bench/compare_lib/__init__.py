"""What `bench/compare` is made of.

command    the command line, and the rounds
measures   what is measured, and which figure is to be reached
targets    who is measured, and how each is started
processes  starting, awaiting and ending processes
site       the temporary folder with certificates, keys and filled-in configurations
figures    medians and ratios
report     results.json, results.md and the table on the terminal
plot       results.svg
"""
