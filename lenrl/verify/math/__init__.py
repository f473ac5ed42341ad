"""Mathematical answers: one spelling, their structure, their values."""
