"""Everything that torch does: the reference engine, checkpoints, export. Nobody else imports it."""
