#!/bin/sh
# Apache's own command line client, as its zkCli.sh starts it.
set -a
[ -r /etc/zookeeper/environment ] && . /etc/zookeeper/environment
ZOOKEEPER_LOG=off
exec /usr/local/bin/zookeeper-java -Xmx64m org.apache.zookeeper.ZooKeeperMain "$@"
