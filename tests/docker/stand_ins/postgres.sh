#!/bin/sh
# As the official image does: a cluster and a database by POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB at the first
# start, then the server.
set -eu
export PGDATA=/var/lib/postgresql/data
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  printf %s "$POSTGRES_PASSWORD" > /tmp/password
  # Label Studio wants UTF-8, which the locale of this image does not imply.
  initdb --username "$POSTGRES_USER" --pwfile /tmp/password --encoding UTF8 --locale C.UTF-8 \
    --auth-local trust --auth-host scram-sha-256 > /tmp/initdb.log
  rm /tmp/password
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  pg_ctl --wait --options "-c listen_addresses=''" start > /tmp/start.log
  createdb --username "$POSTGRES_USER" "$POSTGRES_DB"
  pg_ctl --wait --mode fast stop > /tmp/stop.log
fi
exec postgres -c listen_addresses='*'
