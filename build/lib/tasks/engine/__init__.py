"""How stages are cached, resumed, spread over processes and shown."""
