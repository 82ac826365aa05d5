"""Apache Kafka itself (one KRaft broker) from Maven Central, where Java 17 and Maven are installed."""

from __future__ import annotations

import base64
import fcntl
import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

from tests.servers.process import ServerMissingError, ServerProcess, free_ports, make_folder
from tests.servers.server import Server, own

VERSION = "4.3.1"
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>encore</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
<dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.4</version></dependency>
</dependencies></project>
"""
_LOGGING = """rootLogger.level = WARN
rootLogger.appenderRefs = stdout
rootLogger.appenderRef.stdout.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %c{1} %m%n
logger.started.name = kafka.server
logger.started.level = INFO
"""
_STARTED = b"Kafka Server started"
# The two short broker timeouts make a restart on the same data take 2 s instead of 12; the first rebalance does not
# wait for more members.
_PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{control}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{control}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/data
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=false
broker.session.timeout.ms=1000
broker.heartbeat.interval.ms=200
log.cleaner.dedupe.buffer.size=20971520
num.network.threads=2
num.io.threads=2
"""


def start_kafka() -> Server:
    """One broker that is its own controller; topics must be created explicitly."""
    if shutil.which("java") is None:
        raise ServerMissingError("Kafka: no Java on this machine")
    library = _library()
    folder = make_folder("kafka")
    port, control = free_ports(2)
    (folder / "server.properties").write_text(_PROPERTIES.format(port=port, control=control, folder=folder))
    (folder / "log4j2.properties").write_text(_LOGGING)
    java = ["java", f"-Dlog4j2.configurationFile={folder}/log4j2.properties", "-XX:TieredStopAtLevel=1"]
    run = [*java, "-Xmx512m", "-Xms128m", "-XX:+UseSerialGC", "-cp", f"{library}/*"]
    # No leading "-": the tool would take the id for an option.
    cluster = "e" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
    subprocess.run(
        [*run, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(folder / "server.properties")],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=60,
    )
    process = _Broker(
        name="kafka",
        command=[*run, "kafka.Kafka", str(folder / "server.properties")],
        folder=folder,
        is_ready=lambda: process.says_started(),
    )
    return own(process, f"kafka://127.0.0.1:{port}")


class _Broker(ServerProcess):
    """Ready when it has said so since its latest start; asking the port would fill its log with broken handshakes."""

    _seen = 0

    def start(self) -> None:
        self._seen = self.log.stat().st_size if self.log.exists() else 0
        super().start()

    def says_started(self) -> bool:
        with self.log.open("rb") as log:
            log.seek(self._seen)
            return _STARTED in log.read()


def _library() -> Path:
    """The broker's jars, fetched once per user and version; safe against others fetching at the same time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "encore"
    library = cache / f"kafka-{VERSION}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"kafka-{VERSION}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            _fetch(library)
    return library


def _fetch(library: Path) -> None:
    if shutil.which("mvn") is None:
        raise ServerMissingError("Kafka: Java is here, Maven (which fetches the broker) is not")
    with tempfile.TemporaryDirectory(dir=library.parent) as work:
        (Path(work) / "pom.xml").write_text(_POM)
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=lib"]
        fetched = subprocess.run(["mvn", "-q", "-B", *goal], cwd=work, capture_output=True, text=True, timeout=300)
        if fetched.returncode != 0:
            raise ServerMissingError(f"Kafka: Maven could not fetch the broker:\n{fetched.stdout[-1500:]}")
        (Path(work) / "lib").rename(library)
