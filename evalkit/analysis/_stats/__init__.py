"""Statistics on arrays, without frames or studies."""
