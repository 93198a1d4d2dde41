"""`panel serve app.py`: start or join the services, then one page per browser session."""

import sys

from volsurface.dashboard import session
from volsurface.engine.supervisor import ensure_services

session.page(ensure_services, sys.argv[1:]).servable()
