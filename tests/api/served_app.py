"""The page of the test server: nothing but what makes Panel serve."""

import panel as pn

pn.pane.HTML("served").servable()
