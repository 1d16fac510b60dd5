"""A servicekit service that registers itself and stays registered as long as it runs.

Everything about the registry comes from the environment: SERVICEKIT_ORCHESTRATOR_URL says where it
is, SERVICEKIT_HOST and SERVICEKIT_PORT say under which address others reach this service.
"""

import os

from servicekit.api import BaseServiceBuilder, ServiceInfo

info = ServiceInfo(id=os.environ.get("SERVICE_ID", "example"), display_name="Example service")

app = BaseServiceBuilder(info=info).with_logging().with_health().with_registration().build()
