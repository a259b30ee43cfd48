"""From a pretraining run to a detector or a segmentor of the user's own data."""
