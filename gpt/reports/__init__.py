"""Reports on runs: closing lines, documented beside measured losses, rankings, tables and plots."""
