# A placeholder by the lead, for trying the rest; replace this file.
from pathlib import Path
from eventflock.model import Frozen, Site
class Settings(Frozen, frozen=True, omit_defaults=True):
    schedd: str = ""
    collector: str = ""
    spool: bool = False
    max_idle: int = 1000
    inputs: tuple[str, ...] = ()
    commands: dict[str, str] = {}
def read_settings(site: Site, folder: Path) -> Settings:
    return Settings(schedd=site.schedd, collector=site.collector, spool=site.spool, commands=dict(one.split("=",1) for one in site.submit))
