"""The ground that everything stands on: errors, files, the console, signals, seeding, the configuration's schema."""
