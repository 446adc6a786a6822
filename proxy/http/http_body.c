#include "http/http_body.h"

#define MAX_SIZE_DIGITS 16

enum body_state {
    BODY_DONE, /* nothing more belongs to the body */
    BODY_LENGTH,
    BODY_UNTIL_CLOSE,
    CHUNK_SIZE,      /* digits */
    CHUNK_EXTENSION, /* after ';', to CR */
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    TRAILER_START, /* the first byte of a trailer line, or the CR of the last line */
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    LAST_LF,
    BODY_BROKEN
};

void http_body_begin(struct http_body_decoder *decoder, enum http_body body,
                     uint64_t content_length)
{
    static const uint8_t first_states[] = {
        [HTTP_BODY_NONE] = BODY_DONE,
        [HTTP_BODY_LENGTH] = BODY_LENGTH,
        [HTTP_BODY_CHUNKED] = CHUNK_SIZE,
        [HTTP_BODY_UNTIL_CLOSE] = BODY_UNTIL_CLOSE,
    };

    *decoder = (struct http_body_decoder){.state = first_states[body]};
    if (body == HTTP_BODY_LENGTH) {
        decoder->remaining = content_length;
        if (content_length == 0)
            decoder->state = BODY_DONE;
    }
}

bool http_body_ends_at_eof(const struct http_body_decoder *decoder)
{
    return decoder->state == BODY_UNTIL_CLOSE || decoder->state == BODY_DONE;
}

static bool add_digit(struct http_body_decoder *decoder, char c)
{
    unsigned digit;

    if (c >= '0' && c <= '9')
        digit = (unsigned)(c - '0');
    else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
        digit = (unsigned)((c | 0x20) - 'a') + 10;
    else
        return false;
    if (decoder->digit_count == MAX_SIZE_DIGITS || decoder->remaining > INT64_MAX / 16)
        return false;
    decoder->digit_count++;
    decoder->remaining = decoder->remaining * 16 + digit;
    return true;
}

static enum body_state step_size(struct http_body_decoder *decoder, char c)
{
    if (c == '\r' && decoder->digit_count > 0)
        return CHUNK_SIZE_LF;
    if (c == ';' && decoder->digit_count > 0)
        return CHUNK_EXTENSION;
    return add_digit(decoder, c) ? CHUNK_SIZE : BODY_BROKEN;
}

/* Extension text and trailer values: no control bytes but tab. */
static enum body_state step_text(char c, enum body_state same, enum body_state after_cr)
{
    if (c == '\r')
        return after_cr;
    return ((uint8_t)c >= 0x20 && c != 0x7f) || c == '\t' ? same : BODY_BROKEN;
}

static enum body_state step_trailer_name(char c, bool is_first)
{
    if (c == ':' && !is_first)
        return TRAILER_VALUE;
    return http_is_token(slice_from(&c, 1)) ? TRAILER_NAME : BODY_BROKEN;
}

/* One byte of the framing between data. */
static enum body_state step(struct http_body_decoder *decoder, char c)
{
    switch ((enum body_state)decoder->state) {
    case CHUNK_SIZE:
        return step_size(decoder, c);
    case CHUNK_EXTENSION:
        return step_text(c, CHUNK_EXTENSION, CHUNK_SIZE_LF);
    case CHUNK_SIZE_LF:
        if (c != '\n')
            return BODY_BROKEN;
        return decoder->remaining > 0 ? CHUNK_DATA : TRAILER_START;
    case CHUNK_DATA_CR:
        return c == '\r' ? CHUNK_DATA_LF : BODY_BROKEN;
    case CHUNK_DATA_LF:
        decoder->digit_count = 0;
        return c == '\n' ? CHUNK_SIZE : BODY_BROKEN;
    case TRAILER_START:
        return c == '\r' ? LAST_LF : step_trailer_name(c, true);
    case TRAILER_NAME:
        return step_trailer_name(c, false);
    case TRAILER_VALUE:
        return step_text(c, TRAILER_VALUE, TRAILER_LF);
    case TRAILER_LF:
        return c == '\n' ? TRAILER_START : BODY_BROKEN;
    case LAST_LF:
        return c == '\n' ? BODY_DONE : BODY_BROKEN;
    case BODY_DONE:
    case BODY_LENGTH:
    case BODY_UNTIL_CLOSE:
    case CHUNK_DATA:
    case BODY_BROKEN:
        break;
    }
    UNREACHED();
}

static bool is_overhead(uint8_t state)
{
    return state == CHUNK_EXTENSION || state == TRAILER_NAME || state == TRAILER_VALUE;
}

static enum http_decoded take_data(struct http_body_decoder *decoder, struct slice *input,
                                   struct slice *ret_data)
{
    size_t take = decoder->remaining < input->len ? (size_t)decoder->remaining : input->len;

    *ret_data = slice_head(*input, take);
    *input = slice_skip(*input, take);
    decoder->remaining -= take;
    if (decoder->remaining == 0)
        decoder->state = decoder->state == CHUNK_DATA ? CHUNK_DATA_CR : BODY_DONE;
    return HTTP_DECODED_DATA;
}

static bool is_in_trailers(uint8_t state)
{
    return state == TRAILER_NAME || state == TRAILER_VALUE || state == TRAILER_LF;
}

static void take_step(struct http_body_decoder *decoder, struct slice *input)
{
    decoder->state = (uint8_t)step(decoder, input->at[0]);
    *input = slice_skip(*input, 1);
    if (is_overhead(decoder->state) && ++decoder->overhead_bytes > HTTP_MAX_CHUNK_OVERHEAD_BYTES)
        decoder->state = BODY_BROKEN;
}

/* The rest of a line, as far as it has come, with the byte before that began it. */
static enum http_decoded take_trailer(struct http_body_decoder *decoder, struct slice *input,
                                      const char *from, struct slice *ret_data)
{
    while (input->len > 0 && is_in_trailers(decoder->state))
        take_step(decoder, input);
    *ret_data = slice_from(from, (size_t)(input->at - from));
    return HTTP_DECODED_TRAILER;
}

enum http_decoded http_body_decode(struct http_body_decoder *decoder, struct slice *input,
                                   struct slice *ret_data)
{
    const char *from;
    bool was_in_trailers;

    for (;;) {
        if (decoder->state == BODY_DONE)
            return HTTP_DECODED_END;
        if (decoder->state == BODY_BROKEN)
            return HTTP_DECODED_BAD;
        if (input->len == 0)
            return HTTP_DECODED_MORE;
        if (decoder->state == BODY_UNTIL_CLOSE) {
            *ret_data = *input;
            *input = slice_skip(*input, input->len);
            return HTTP_DECODED_DATA;
        }
        if (decoder->state == BODY_LENGTH || decoder->state == CHUNK_DATA)
            return take_data(decoder, input, ret_data);
        from = input->at;
        was_in_trailers = is_in_trailers(decoder->state);
        take_step(decoder, input);
        if (decoder->keeps_trailers && (was_in_trailers || is_in_trailers(decoder->state)))
            return take_trailer(decoder, input, from, ret_data);
    }
}
