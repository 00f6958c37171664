"""Pure judgement: measurements in, verdicts out. No I/O, no clock."""
