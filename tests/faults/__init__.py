"""What happens to real runs, done on purpose: kills, full disks, damaged files, a stranger's folder."""
