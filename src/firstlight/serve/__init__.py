"""The local page and the HTTP service for trained runs."""
