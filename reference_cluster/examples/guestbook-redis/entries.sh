#!/bin/sh
# GET: the entries, a line each, from a slave. POST: an entry for the master, which answers with how many there are then.
answer() {
  printf 'Status: %s\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n%s\n' "$1" "$2"
}
if [ "$REQUEST_METHOD" = POST ]; then
  entry=$(head -c "${CONTENT_LENGTH:-0}" | tr -d '\n\r')
  said=$(redis-cli -h "$REDIS_MASTER_SERVICE_HOST" -p "$REDIS_MASTER_SERVICE_PORT" RPUSH guestbook "$entry" 2>&1)
  case "$said" in
    '' | *[!0-9]*) answer '503 Service Unavailable' "$said" ;;
    *) answer '200 OK' "$said" ;;
  esac
elif said=$(redis-cli -e -h "$REDIS_SLAVE_SERVICE_HOST" -p "$REDIS_SLAVE_SERVICE_PORT" LRANGE guestbook 0 -1 2>&1); then
  answer '200 OK' "$said"
else
  answer '503 Service Unavailable' "$said"
fi
