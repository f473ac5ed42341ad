"""What methods are made of: six slots, one small file a rule."""
