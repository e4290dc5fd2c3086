"""Where pairs come from: folders, arrays, published sets, drawings."""
