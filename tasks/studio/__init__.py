"""The page of `fye studio`: what its visitor has brought, where the face is, what is wanted, and how it is served."""
