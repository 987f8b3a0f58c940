"""Each module measures one thing; `arc-trm bench NAME` prints its rows as a table and as JSON."""
