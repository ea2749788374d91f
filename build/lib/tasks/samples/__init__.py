"""The demo's clips: a photographed face in known motion."""
