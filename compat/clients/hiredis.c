/* hiredis against a server: `hiredis PORT`. Prints `ok - NAME` or `not ok - NAME` per promise.
 *
 * How: the library's synchronous calls, formatted and binary-safe, then pipelines with redisAppendCommand and
 * redisGetReply, so that its reader sees every reply type in one stream. Not here: its asynchronous adapters. */

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIPELINE = 20000, BLOB = 1 << 20 };

static redisContext *c;

static void report(const char *name, int ok) { printf("%s - %s\n", ok ? "ok" : "not ok", name); }

/* Whether a reply is of this type and, where text is given, says this text. Frees it. */
static int is(redisReply *reply, int type, const char *text) {
    int ok = reply && reply->type == type && (!text || strcmp(reply->str, text) == 0);
    if (reply) freeReplyObject(reply);
    return ok;
}

static int is_integer(redisReply *reply, long long value) {
    int ok = reply && reply->type == REDIS_REPLY_INTEGER && reply->integer == value;
    if (reply) freeReplyObject(reply);
    return ok;
}

static int strings(void) {
    return is(redisCommand(c, "SET %s %s", "s", "hello"), REDIS_REPLY_STATUS, "OK") &&
           is(redisCommand(c, "GET s"), REDIS_REPLY_STRING, "hello") &&
           is(redisCommand(c, "GET none"), REDIS_REPLY_NIL, NULL) &&
           is_integer(redisCommand(c, "APPEND s %b", "\0x", (size_t)2), 7) &&
           is_integer(redisCommand(c, "INCRBY n %d", 42), 42) &&
           is(redisCommand(c, "INCR s"), REDIS_REPLY_ERROR, "ERR value is not an integer or out of range");
}

static int binary(void) {
    char *blob = malloc(BLOB);
    for (int i = 0; i < BLOB; i++) blob[i] = (char)i;
    int ok = is(redisCommand(c, "SET %b %b", "\0k", (size_t)2, blob, (size_t)BLOB), REDIS_REPLY_STATUS, "OK");
    redisReply *reply = redisCommand(c, "GET %b", "\0k", (size_t)2);
    ok = ok && reply && reply->type == REDIS_REPLY_STRING && reply->len == BLOB && memcmp(reply->str, blob, BLOB) == 0;
    if (reply) freeReplyObject(reply);
    free(blob);
    return ok;
}

static int arrays(void) {
    if (!is(redisCommand(c, "MSET a 1 b 2"), REDIS_REPLY_STATUS, "OK")) return 0;
    redisReply *reply = redisCommand(c, "MGET a none b");
    int ok = reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 && strcmp(reply->element[0]->str, "1") == 0 &&
             reply->element[1]->type == REDIS_REPLY_NIL && strcmp(reply->element[2]->str, "2") == 0;
    if (reply) freeReplyObject(reply);
    return ok;
}

static int expiry(void) {
    redisReply *reply;
    int ok = is(redisCommand(c, "SET t v EX 100"), REDIS_REPLY_STATUS, "OK");
    reply = redisCommand(c, "PTTL t");
    ok = ok && reply && reply->integer > 99000 && reply->integer <= 100000;
    if (reply) freeReplyObject(reply);
    return ok && is_integer(redisCommand(c, "PERSIST t"), 1) && is_integer(redisCommand(c, "TTL t"), -1);
}

static int transaction(void) {
    int ok = is(redisCommand(c, "MULTI"), REDIS_REPLY_STATUS, "OK") &&
             is(redisCommand(c, "SET m 1"), REDIS_REPLY_STATUS, "QUEUED") &&
             is(redisCommand(c, "INCR m"), REDIS_REPLY_STATUS, "QUEUED");
    redisReply *reply = redisCommand(c, "EXEC");
    ok = ok && reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 && reply->element[1]->integer == 2;
    if (reply) freeReplyObject(reply);
    return ok;
}

static int pipeline(void) {
    for (int i = 0; i < PIPELINE; i++) redisAppendCommand(c, i % 2 ? "INCR counter" : "SET p:%d %d", i, i);
    for (int i = 0; i < PIPELINE; i++) {
        redisReply *reply = NULL;
        if (redisGetReply(c, (void **)&reply) != REDIS_OK) return 0;
        int ok = i % 2 ? reply->type == REDIS_REPLY_INTEGER && reply->integer == i / 2 + 1 : reply->type == REDIS_REPLY_STATUS;
        freeReplyObject(reply);
        if (!ok) return 0;
    }
    return is_integer(redisCommand(c, "DBSIZE"), PIPELINE / 2 + 1);
}

static int connection(void) {
    return is(redisCommand(c, "PING"), REDIS_REPLY_STATUS, "PONG") && is(redisCommand(c, "ECHO %s", "a b"), REDIS_REPLY_STRING, "a b") &&
           is(redisCommand(c, "SELECT 3"), REDIS_REPLY_STATUS, "OK") && is_integer(redisCommand(c, "DBSIZE"), 0) &&
           is(redisCommand(c, "SELECT 0"), REDIS_REPLY_STATUS, "OK");
}

static int port;

static int publish_and_subscribe(void) {
    redisContext *listener = redisConnect("127.0.0.1", port);
    redisReply *reply = redisCommand(listener, "SUBSCRIBE news");
    int ok = reply && reply->elements == 3 && strcmp(reply->element[0]->str, "subscribe") == 0;
    if (reply) freeReplyObject(reply);
    ok = ok && is_integer(redisCommand(c, "PUBLISH news %b", "a\0b", (size_t)3), 1);
    if (ok && redisGetReply(listener, (void **)&reply) == REDIS_OK) {
        ok = reply->elements == 3 && reply->element[2]->len == 3 && memcmp(reply->element[2]->str, "a\0b", 3) == 0;
        freeReplyObject(reply);
    }
    redisFree(listener);
    return ok;
}

int main(int argc, char **argv) {
    static const struct { const char *name; int (*run)(void); } checks[] = {
        {"strings", strings}, {"binary", binary}, {"arrays", arrays}, {"expiry", expiry},
        {"transaction", transaction}, {"pipeline", pipeline}, {"connection", connection},
        {"publish_and_subscribe", publish_and_subscribe},
    };
    port = argc == 2 ? atoi(argv[1]) : 0;
    if (argc != 2 || !(c = redisConnect("127.0.0.1", atoi(argv[1]))) || c->err) return 1;
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        freeReplyObject(redisCommand(c, "FLUSHALL"));
        report(checks[i].name, checks[i].run());
    }
    redisFree(c);
    return 0;
}
