"""What a network's answer rests on: arrays in, arrays and words out. No disk, no pictures."""
