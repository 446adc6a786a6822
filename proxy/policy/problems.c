#include "policy/problems.h"

#include <stdarg.h>
#include <stdlib.h>

/* Longer source lines are cut around the marked place. */
#define SHOWN_COLUMNS 120

void policy_problems_init(struct policy_problems *problems)
{
    *problems = (struct policy_problems){0};
    arena_init(&problems->arena, NULL);
}

void policy_problems_clear(struct policy_problems *problems)
{
    free(problems->items);
    arena_clear(&problems->arena);
    *problems = (struct policy_problems){0};
}

/* Messages quote what users wrote; they must not be able to steer the terminal. */
static void disarm(char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7F ||
            ((unsigned char)text[0] == 0xC2 && ((unsigned char)text[1] & 0xE0) == 0x80))
            *text = '?';
}

static struct policy_problem *append_problem(struct policy_problems *problems)
{
    if (problems->count == problems->cap) {
        problems->cap = problems->cap > 0 ? problems->cap * 2 : 16;
        problems->items = mem_realloc(problems->items, problems->cap * sizeof(*problems->items));
    }
    return &problems->items[problems->count++];
}

void policy_problems_add(struct policy_problems *problems, enum policy_severity severity,
                         const struct problems_place *place, const char *format, ...)
{
    struct arena *arena = &problems->arena;
    struct source_mark mark = place->mark;
    struct policy_problem *problem;
    char message[1024];
    va_list args;

    if (severity == POLICY_ERROR)
        problems->error_count++;
    if (problems->count >= POLICY_MAX_PROBLEMS)
        return;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    disarm(message);
    problem = append_problem(problems);
    *problem = (struct policy_problem){.severity = severity,
                                       .line = mark.line,
                                       .column = mark.line > 0 ? mark.column : 0,
                                       .width = mark.width > 0 ? mark.width : 1};
    problem->file = arena_copy(arena, slice_of(mark.source->name)).at;
    problem->file_order = mark.source->order;
    problem->where = arena_copy(arena, slice_of(place->where != NULL ? place->where : "")).at;
    problem->message = arena_copy(arena, slice_of(message)).at;
    if (mark.line > 0 && !place->is_secret)
        problem->source_line = arena_copy(arena, source_line(mark.source, mark.line)).at;
}

static int compare_problems(const void *left, const void *right)
{
    const struct policy_problem *a = left, *b = right;

    if (a->file_order != b->file_order)
        return a->file_order < b->file_order ? -1 : 1;
    if (a->line != b->line)
        return a->line < b->line ? -1 : 1;
    if (a->column != b->column)
        return a->column < b->column ? -1 : 1;
    return 0;
}

/* Insertion sort: stable, and what is found in one pass over a file is nearly in order. */
void policy_problems_sort(struct policy_problems *problems)
{
    for (size_t i = 1; i < problems->count; i++) {
        struct policy_problem moved = problems->items[i];
        size_t at = i;

        for (; at > 0 && compare_problems(&problems->items[at - 1], &moved) > 0; at--)
            problems->items[at] = problems->items[at - 1];
        problems->items[at] = moved;
    }
}

struct colours {
    const char *bold, *error, *warning, *mark, *plain;
};

static const struct colours no_colours = {"", "", "", "", ""};
static const struct colours tty_colours = {"\033[1m", "\033[1;31m", "\033[1;35m", "\033[1;32m",
                                           "\033[0m"};

static size_t character_bytes(const char *at)
{
    size_t len = 1;

    while (((unsigned char)at[len] & 0xC0) == 0x80)
        len++;
    return len;
}

/* Tabs stay, so that the caret under them fits; other control characters become '?': a policy file
 * must not be able to steer the terminal. */
static void print_characters(FILE *out, const char *at, unsigned count)
{
    for (unsigned i = 0; i < count && *at != '\0'; i++) {
        size_t len = character_bytes(at);
        unsigned char first = (unsigned char)*at;

        if ((first < 0x20 && first != '\t') || first == 0x7F ||
            (first == 0xC2 && len == 2 && (unsigned char)at[1] < 0xA0))
            fputc('?', out);
        else
            fwrite(at, 1, len, out);
        at += len;
    }
}

static void print_source_line(const struct policy_problem *problem, FILE *out,
                              const struct colours *colours)
{
    const char *at = problem->source_line;
    unsigned skip = problem->column > SHOWN_COLUMNS - 20 ? problem->column - 40 : 0;
    unsigned width = problem->width;

    for (unsigned i = 0; i < skip && *at != '\0'; i++)
        at += character_bytes(at);
    fprintf(out, "%5u | %s", problem->line, skip > 0 ? "..." : "");
    print_characters(out, at, SHOWN_COLUMNS);
    fprintf(out, "\n      | %s%s", skip > 0 ? "   " : "", colours->mark);
    for (unsigned i = skip + 1; i < problem->column && *at != '\0'; i++) {
        fputc(*at == '\t' ? '\t' : ' ', out);
        at += character_bytes(at);
    }
    fputc('^', out);
    if (width > SHOWN_COLUMNS - (problem->column - skip))
        width = SHOWN_COLUMNS - (problem->column - skip);
    for (unsigned i = 1; i < width; i++)
        fputc('~', out);
    fprintf(out, "%s\n", colours->plain);
}

static void print_problem(const struct policy_problem *problem, FILE *out,
                          const struct colours *colours)
{
    bool is_error = problem->severity == POLICY_ERROR;

    fprintf(out, "%s%s:", colours->bold, problem->file);
    if (problem->line > 0)
        fprintf(out, "%u:%u:", problem->line, problem->column);
    fprintf(out, "%s %s%s:%s ", colours->plain, is_error ? colours->error : colours->warning,
            is_error ? "error" : "warning", colours->plain);
    if (problem->where[0] != '\0')
        fprintf(out, "%s: ", problem->where);
    fprintf(out, "%s\n", problem->message);
    if (problem->source_line != NULL)
        print_source_line(problem, out, colours);
}

void policy_problems_print(const struct policy_problems *problems, FILE *out, bool is_tty)
{
    const struct colours *colours = is_tty ? &tty_colours : &no_colours;

    for (size_t i = 0; i < problems->count; i++)
        print_problem(&problems->items[i], out, colours);
    if (problems->count == POLICY_MAX_PROBLEMS)
        fprintf(out, "only the first %d problems are shown\n", POLICY_MAX_PROBLEMS);
}
