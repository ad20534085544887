"""What every other room stands on: errors, limits, files and records, statistics, progress, devices."""
