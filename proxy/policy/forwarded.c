#include "policy/forwarded.h"

#include <arpa/inet.h>
#include <ctype.h>

/* The longest node that can be one we read: brackets, an address, a colon and a port. */
#define NODE_MAX_BYTES (INET6_ADDRSTRLEN + 8)

/* A parameter's value without quotes and escapes; is_long: more than could be a node. */
struct value {
    char text[NODE_MAX_BYTES];
    size_t len;
    bool is_long;
};

static bool is_token_byte(char byte)
{
    return isalnum((unsigned char)byte) ||
           (byte != '\0' && strchr("!#$%&'*+-.^_`|~", byte) != NULL);
}

static struct slice cut_token(struct slice *rest)
{
    size_t len = 0;

    while (len < rest->len && is_token_byte(rest->at[len]))
        len++;
    *rest = slice_skip(*rest, len);
    return slice_from(rest->at - len, len);
}

static void put(struct value *value, char byte)
{
    if (value->len == sizeof(value->text))
        value->is_long = true;
    else
        value->text[value->len++] = byte;
}

/* qdtext and quoted-pair of RFC 9110, section 5.6.4. */
static bool is_quotable(unsigned char byte)
{
    return byte == '\t' || (byte >= ' ' && byte != 0x7f);
}

static bool read_quoted(struct slice *rest, struct value *value)
{
    *rest = slice_skip(*rest, 1);
    while (rest->len > 0 && rest->at[0] != '"') {
        if (rest->at[0] == '\\')
            *rest = slice_skip(*rest, 1);
        if (rest->len == 0 || !is_quotable((unsigned char)rest->at[0]))
            return false;
        put(value, rest->at[0]);
        *rest = slice_skip(*rest, 1);
    }
    if (rest->len == 0)
        return false;
    *rest = slice_skip(*rest, 1);
    return true;
}

static bool read_value(struct slice *rest, struct value *value)
{
    struct slice token;

    value->len = 0;
    value->is_long = false;
    if (rest->len > 0 && rest->at[0] == '"')
        return read_quoted(rest, value);
    token = cut_token(rest);
    for (size_t i = 0; i < token.len; i++)
        put(value, token.at[i]);
    return token.len > 0;
}

/* "_" and at least one of letters, digits, ".", "_" and "-". */
static bool is_obfuscated(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!isalnum((unsigned char)text.at[i]) && strchr("._-", text.at[i]) == NULL)
            return false;
    return text.len > 1 && text.at[0] == '_';
}

static bool is_port(struct slice text)
{
    uint64_t port;

    return is_obfuscated(text) ||
           (text.len <= 5 && slice_to_uint64(text, &port) && port <= UINT16_MAX);
}

static bool read_ip(struct slice text, bool is_v6, struct in6_addr *ret_address)
{
    char terminated[INET6_ADDRSTRLEN];
    struct in6_addr address = {.s6_addr = {[10] = 0xff, [11] = 0xff}};

    if (text.len >= sizeof(terminated) || slice_find(text, '\0') < text.len)
        return false;
    memcpy(terminated, text.at, text.len);
    terminated[text.len] = '\0';
    if (inet_pton(is_v6 ? AF_INET6 : AF_INET, terminated,
                  is_v6 ? (void *)&address : (void *)&address.s6_addr[12]) != 1)
        return false;
    *ret_address = address;
    return true;
}

/* node = nodename [ ":" node-port ] (section 6). */
static void read_node(const struct value *value, struct forwarded_element *element)
{
    struct slice node = slice_from(value->text, value->len), port;
    bool is_v6 = node.len > 0 && node.at[0] == '[';
    size_t end = slice_find(node, is_v6 ? ']' : ':');

    if (value->is_long || (is_v6 && end == node.len))
        return;
    port = slice_skip(node, is_v6 ? end + 1 : end);
    if (port.len > 0 && (port.at[0] != ':' || !is_port(slice_skip(port, 1))))
        return;
    if (read_ip(is_v6 ? slice_from(node.at + 1, end - 1) : slice_head(node, end), is_v6,
                &element->address))
        element->kind = FORWARDED_FOR_ADDRESS;
}

/* name "=" value.  seen: the registered parameters of the element so far, one bit each. */
static bool read_pair(struct slice *rest, unsigned *seen, struct forwarded_element *element)
{
    static const struct slice registered[] = {SLICE_INIT("for"), SLICE_INIT("by"),
                                              SLICE_INIT("host"), SLICE_INIT("proto")};
    struct slice name = cut_token(rest);
    struct value value;

    if (name.len == 0 || rest->len == 0 || rest->at[0] != '=')
        return false;
    *rest = slice_skip(*rest, 1);
    if (!read_value(rest, &value))
        return false;
    for (unsigned i = 0; i < COUNT_OF(registered); i++) {
        if (!slice_equal_nocase(name, registered[i]))
            continue;
        if ((*seen & 1u << i) != 0)
            return false;
        *seen |= 1u << i;
        if (i == 0)
            read_node(&value, element);
    }
    return true;
}

static bool is_space(char byte)
{
    return byte == ' ' || byte == '\t';
}

static void skip_spaces(struct slice *rest)
{
    while (rest->len > 0 && is_space(rest->at[0]))
        *rest = slice_skip(*rest, 1);
}

enum forwarded_status forwarded_next(struct slice *rest, struct forwarded_element *ret_element)
{
    unsigned seen = 0;

    *ret_element = (struct forwarded_element){.kind = FORWARDED_FOR_NOBODY};
    while (rest->len > 0 && (rest->at[0] == ',' || is_space(rest->at[0])))
        *rest = slice_skip(*rest, 1);
    if (rest->len == 0)
        return FORWARDED_END;
    for (;;) {
        if (rest->len > 0 && is_token_byte(rest->at[0]) && !read_pair(rest, &seen, ret_element))
            return FORWARDED_MALFORMED;
        if (rest->len == 0 || rest->at[0] != ';')
            break;
        *rest = slice_skip(*rest, 1);
    }
    skip_spaces(rest);
    return rest->len == 0 || rest->at[0] == ',' ? FORWARDED_ELEMENT : FORWARDED_MALFORMED;
}

bool forwarded_is_fine(struct slice value)
{
    struct forwarded_element element;
    enum forwarded_status status;

    do
        status = forwarded_next(&value, &element);
    while (status == FORWARDED_ELEMENT);
    return status == FORWARDED_END;
}
