"""A user study: a page on which people rank methods' videos, and what their answers say."""
