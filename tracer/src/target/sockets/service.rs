//! The usual names of services, by port or socket path: what stands behind an address, most likely. A name here is a
//! reading aid; whoever listens there may be something else.

use crate::aggregate::Endpoint;

/// A service and its ports.
type Ports = (&'static str, &'static [u16]);

/// From IANA's Service Name and Transport Protocol Port Number Registry.
const REGISTERED: &[Ports] = &[
    ("ftp", &[21]),
    ("ssh", &[22]),
    ("telnet", &[23]),
    ("smtp", &[25, 587]),
    ("smtps", &[465]),
    ("dns", &[53]),
    ("dns-over-tls", &[853]),
    ("kerberos", &[88]),
    ("pop3", &[110]),
    ("pop3s", &[995]),
    ("rpcbind", &[111]),
    ("ntp", &[123]),
    ("imap", &[143]),
    ("imaps", &[993]),
    ("snmp", &[161]),
    ("ldap", &[389]),
    ("ldaps", &[636]),
    ("smb", &[445]),
    ("syslog", &[514]),
    ("rsync", &[873]),
    ("nfs", &[2049]),
    ("sip", &[5060]),
    ("git", &[9418]),
    ("http", &[80, 8008, 8080]),
    ("https", &[443]),
    ("postgresql", &[5432]),
    ("mysql", &[3306]),
    ("mssql", &[1433]),
    ("redis", &[6379]),
    ("memcached", &[11211]),
    ("couchdb", &[5984]),
    ("amqp", &[5672]),
    ("amqps", &[5671]),
    ("mqtt", &[1883]),
    ("mqtts", &[8883]),
    ("etcd", &[2379, 2380]),
    ("docker", &[2375, 2376]),
];

/// Defaults that the products document, with the setting. 3000 is left out: Grafana, Rails, Node and others start there.
const DEFAULTS: &[Ports] = &[
    ("http", &[8000]),                 // python -m http.server, manage.py runserver
    ("https", &[8443]),                // Tomcat: the TLS connector's port
    ("http-proxy", &[3128]),           // Squid: http_port
    ("pgbouncer", &[6432]),            // PgBouncer: listen_port
    ("oracle", &[1521]),               // Oracle Net: the listener's PORT
    ("redis-sentinel", &[26379]),      // Redis: port, in sentinel.conf
    ("mongodb", &[27017]),             // MongoDB: net.port
    ("cassandra", &[9042]),            // Cassandra: native_transport_port
    ("neo4j", &[7687]),                // Neo4j: server.bolt.listen_address
    ("clickhouse", &[8123, 9000]),     // ClickHouse: http_port, tcp_port
    ("influxdb", &[8086]),             // InfluxDB: http-bind-address
    ("cockroachdb", &[26257]),         // CockroachDB: --listen-addr
    ("elasticsearch", &[9200, 9300]),  // Elasticsearch: http.port, transport.port
    ("rabbitmq-management", &[15672]), // RabbitMQ: management.tcp.port
    ("kafka", &[9092]),                // Kafka: listeners
    ("nats", &[4222]),                 // NATS: port
    ("zookeeper", &[2181]),            // ZooKeeper: clientPort
    ("consul", &[8500]),               // Consul: ports.http
    ("vault", &[8200]),                // Vault: listener.tcp.address
    ("kubernetes", &[6443]),           // kube-apiserver: --secure-port
    ("kubelet", &[10250]),             // kubelet: --port
    ("grpc", &[50051]),                // the port of gRPC's own examples
    ("otlp", &[4317, 4318]),           // OpenTelemetry: OTEL_EXPORTER_OTLP_ENDPOINT
    ("statsd", &[8125]),               // StatsD: port
    ("prometheus", &[9090]),           // Prometheus: --web.listen-address
    ("alertmanager", &[9093]),         // Alertmanager: --web.listen-address
    ("node-exporter", &[9100]),        // node_exporter: --web.listen-address
    ("logstash", &[5044]),             // Logstash: the port of the Beats input
];

/// How the last part of a socket's path begins and ends, and its service. The products' documented defaults, and what
/// Debian and Fedora make of them.
const FILES: &[(&str, &str, &str)] = &[
    // PgBouncer's look the same, with its own port.
    (".s.PGSQL.6432", "", "pgbouncer"),
    (".s.PGSQL.", "", "postgresql"),
    ("mysqld.sock", "", "mysql"),
    ("mysql.sock", "", "mysql"),
    ("mysqlx.sock", "", "mysql"),
    ("mariadb", ".sock", "mysql"),
    ("redis", ".sock", "redis"),
    ("valkey", ".sock", "redis"),
    ("memcached", ".sock", "memcached"),
    ("mongodb-", ".sock", "mongodb"),
    ("docker.sock", "", "docker"),
    ("containerd.sock", "", "containerd"),
    ("crio.sock", "", "crio"),
    ("podman.sock", "", "podman"),
    ("php", "fpm.sock", "php-fpm"),
    ("gunicorn", ".sock", "gunicorn"),
    ("uwsgi", ".sock", "uwsgi"),
    ("supervisor.sock", "", "supervisor"),
    ("dsd.socket", "", "statsd"),
];

/// Whole paths, up to here and anything below.
const PATHS: &[(&str, &str)] = &[
    ("/run/nscd/socket", "nscd"),
    ("/run/systemd/journal", "journald"),
    ("/dev/log", "syslog"),
    ("/run/systemd/notify", "systemd"),
    ("/run/systemd/private", "systemd"),
    ("/run/systemd/resolve", "systemd-resolved"),
    ("/run/systemd/userdb", "systemd-userdb"),
    ("/run/dbus/system_bus_socket", "dbus"),
    ("/run/avahi-daemon/socket", "avahi"),
    ("/run/snapd.socket", "snapd"),
    ("@/tmp/.X11-unix", "x11"),
    ("/tmp/.X11-unix", "x11"),
];

/// The service that usually listens on a TCP or UDP port.
pub fn service_name(port: u16) -> Option<&'static str> {
    REGISTERED.iter().chain(DEFAULTS).find(|(_, ports)| ports.contains(&port)).map(|(name, _)| *name)
}

/// The service that usually listens on a Unix socket of this path, or of this abstract name with its leading `@`.
pub fn unix_service(path: &str) -> Option<&'static str> {
    let path = path.strip_prefix("/var").filter(|rest| rest.starts_with("/run/")).unwrap_or(path);
    let below = |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if let Some((_, name)) = PATHS.iter().find(|(prefix, _)| below(prefix)) {
        return Some(name);
    }
    let file = path.rsplit('/').next().unwrap_or(path);
    let file = file.strip_prefix('@').unwrap_or(file);
    FILES
        .iter()
        .find(|(start, end, _)| match file.strip_prefix(start) {
            // What ends in a dot or not at all has anything behind it, what is a whole name has nothing.
            Some(rest) if end.is_empty() => start.ends_with('.') || rest.is_empty(),
            Some(rest) => rest.ends_with(end),
            None => false,
        })
        .map(|(.., name)| *name)
}

/// The service that usually listens at an address.
pub fn service_of(endpoint: &Endpoint) -> Option<&'static str> {
    match endpoint {
        Endpoint::Inet(address) => service_name(address.port()),
        Endpoint::Unix(path) => unix_service(path),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_port_has_two_names() {
        let mut seen = HashSet::new();
        for (name, ports) in REGISTERED.iter().chain(DEFAULTS) {
            for port in *ports {
                assert!(seen.insert(port), "{port} is {name}'s and another's");
            }
        }
    }

    #[test]
    fn ports_that_everyone_knows() {
        let known = [
            (22, "ssh"),
            (443, "https"),
            (587, "smtp"),
            (2380, "etcd"),
            (3306, "mysql"),
            (5432, "postgresql"),
            (6379, "redis"),
            (6432, "pgbouncer"),
            (9092, "kafka"),
            (9300, "elasticsearch"),
            (11211, "memcached"),
            (27017, "mongodb"),
        ];
        for (port, name) in known {
            assert_eq!(service_name(port), Some(name), "{port}");
        }
        for port in [0, 3000, 40001, 65535] {
            assert_eq!(service_name(port), None, "{port}");
        }
        let address = Endpoint::Inet("[2001:db8::1]:5432".parse().expect("an address"));
        assert_eq!(service_of(&address), Some("postgresql"));
    }

    #[test]
    fn paths_that_distributions_use() {
        let known = [
            ("/var/run/postgresql/.s.PGSQL.5432", "postgresql"),
            ("/tmp/.s.PGSQL.5433", "postgresql"),
            ("/tmp/.s.PGSQL.6432", "pgbouncer"),
            ("@/tmp/.s.PGSQL.5432", "postgresql"),
            ("/run/mysqld/mysqld.sock", "mysql"),
            ("/var/lib/mysql/mysql.sock", "mysql"),
            ("/var/run/redis/redis-server.sock", "redis"),
            ("/tmp/redis.sock", "redis"),
            ("memcached.sock", "memcached"),
            ("/tmp/mongodb-27017.sock", "mongodb"),
            ("/var/run/docker.sock", "docker"),
            ("/run/php/php8.2-fpm.sock", "php-fpm"),
            ("/var/run/nscd/socket", "nscd"),
            ("/run/systemd/journal/socket", "journald"),
            ("/run/systemd/journal/dev-log", "journald"),
            ("/dev/log", "syslog"),
            ("/run/dbus/system_bus_socket", "dbus"),
            ("@/tmp/.X11-unix/X0", "x11"),
        ];
        for (path, name) in known {
            assert_eq!(unix_service(path), Some(name), "{path}");
        }
        for path in ["", "@", "/", "/run/docker.socket", "/dev/logger", "/run/nscd/socketry", "/redis/other", "@0002f"]
        {
            assert_eq!(unix_service(path), None, "{path}");
        }
        assert_eq!(service_of(&Endpoint::Unix("/dev/log".into())), Some("syslog"));
    }
}
