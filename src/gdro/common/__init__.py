"""Small tools that every layer may use: files, configuration, progress bars, locks."""
