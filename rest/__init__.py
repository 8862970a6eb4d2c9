"""HTTP: routes of the contract's endpoints, one file a resource, and the middleware around them."""
