"""The foundation of all other packages: errors, files, console, signals, seeding, the table of commands."""
