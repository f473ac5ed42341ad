"""Six slots that make a method, one small file a rule."""
