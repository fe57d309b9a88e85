"""The same network on several backends: `compare` says whether they agree, `measure` collects the arrays of one of them."""
