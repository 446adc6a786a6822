/* Field tables on a small table of their own; and the readers of single values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "policy/schema.h"
#include "policy/schema_write.h"

struct boat {
    const char *name;
    uint64_t length, wait_ms;
    bool has_sail;
    int kind;
    struct boat **tenders;
    size_t tender_count;
    unsigned finished;
};

static const char *const kinds[] = {"barge", "yacht", NULL};

static void finish_boat(struct schema *schema, void *record)
{
    struct boat *boat = record;

    boat->finished++;
    if (schema_is_given(schema, "length") && schema_is_sound(schema, "length") &&
        boat->length == 13)
        schema_problem(schema, POLICY_WARNING, "length", "unlucky");
}

static const struct schema_field tender_fields[] = {
    {.name = "name",
     .type = &schema_name,
     SCHEMA_FIELD(boat, name),
     .is_required = true,
     .help = "its name"},
};
static const struct schema_section tender_section = {.name = "tender",
                                                     .title = "tenders[]",
                                                     .help = "A small boat.",
                                                     .fields = tender_fields,
                                                     .field_count = COUNT_OF(tender_fields),
                                                     .record_size = sizeof(struct boat),
                                                     .finish = finish_boat};
static const struct schema_field boat_fields[] = {
    {.name = "name",
     .type = &schema_name,
     SCHEMA_FIELD(boat, name),
     .is_required = true,
     .help = "its name"},
    {.name = "length",
     .type = &schema_count,
     SCHEMA_FIELD(boat, length),
     .min = 2,
     .max = 100,
     .default_text = "12",
     .word = "any",
     .help = "from | to"},
    {.name = "wait",
     .type = &schema_duration_ms,
     SCHEMA_FIELD(boat, wait_ms),
     .default_text = "5m",
     .max = 7200000,
     .help = "how long"},
    {.name = "sail",
     .type = &schema_bool,
     SCHEMA_FIELD(boat, has_sail),
     .default_text = "true",
     .help = "[sail](#sail)"},
    {.name = "kind",
     .type = &schema_enum,
     SCHEMA_FIELD(boat, kind),
     .choices = kinds,
     .default_text = "yacht",
     .help = "which"},
    {.name = "tenders",
     .type = &schema_sections,
     .section = &tender_section,
     SCHEMA_COUNTED(boat, tenders, tender_count),
     .help = "small boats"},
};
static const struct schema_section boat_section = {.name = "boat",
                                                   .title = "Boat",
                                                   .help = "A boat.",
                                                   .fields = boat_fields,
                                                   .field_count = COUNT_OF(boat_fields),
                                                   .finish = finish_boat};

struct fixture {
    struct arena arena;
    struct source source;
    struct policy_problems problems;
    struct boat boat;
};

static int set_up(void **state)
{
    struct fixture *f = mem_calloc(1, sizeof(*f));

    arena_init(&f->arena, NULL);
    policy_problems_init(&f->problems);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    policy_problems_clear(&f->problems);
    arena_clear(&f->arena);
    free(f);
    return 0;
}

static void bind_text(struct fixture *f, const char *text)
{
    struct schema schema = {.arena = &f->arena, .scratch = &f->arena, .problems = &f->problems};
    struct yaml_node *root;

    f->boat = (struct boat){0};
    f->source = (struct source){"boat.yaml", slice_of(text), 0};
    root = yaml_parse(&f->arena, &f->source, &f->problems);
    assert_non_null(root);
    schema_bind(&schema, &boat_section, root, &f->boat);
    policy_problems_sort(&f->problems);
}

static void defaults_go_through_the_readers(void **state)
{
    struct fixture *f = *state;

    bind_text(f, "name: a\n");
    assert_int_equal(f->problems.count, 0);
    assert_int_equal(f->boat.length, 12);
    assert_int_equal(f->boat.wait_ms, 300000);
    assert_true(f->boat.has_sail);
    assert_int_equal(f->boat.kind, 1);
    assert_int_equal(f->boat.tender_count, 0);
    assert_int_equal(f->boat.finished, 1);
}

static void values_are_bound_by_offset(void **state)
{
    struct fixture *f = *state;

    bind_text(f, "{name: b, length: any, wait: 1h, sail: false, kind: barge, tenders: [{name: c}, "
                 "{name: d}]}");
    assert_int_equal(f->problems.count, 0);
    assert_string_equal(f->boat.name, "b");
    assert_int_equal(f->boat.length, 0);
    assert_int_equal(f->boat.wait_ms, 3600000);
    assert_false(f->boat.has_sail);
    assert_int_equal(f->boat.kind, 0);
    assert_int_equal(f->boat.tender_count, 2);
    assert_string_equal(f->boat.tenders[1]->name, "d");
}

static void every_problem_has_its_place(void **state)
{
    static const struct {
        unsigned line, column;
        const char *where, *message;
    } expected[] = {
        {1, 1, "", "unknown key \"nmae\" (did you mean \"name\"?)"},
        {2, 9, "length", "\"101\" is too large: the most is 100"},
        {3, 7, "wait", "\"3h\" is too large: the most is 2h"},
        {4, 7, "kind", "\"bargue\" is not one of barge, yacht (did you mean \"barge\"?)"},
        {6, 5, "tenders[0]", "unknown key \"x\"; here may stand: name"},
        {6, 5, "tenders[0]", "the required key \"name\" is missing (its name)"},
        {7, 5, "tenders[1]", "must be a section of keys, not a single value"},
    };
    struct fixture *f = *state;

    bind_text(f, "nmae: a\nlength: 101\nwait: 3h\nkind: bargue\ntenders:\n  - x: 1\n  - y\n");
    assert_int_equal(f->problems.count, COUNT_OF(expected));
    for (size_t i = 0; i < COUNT_OF(expected); i++) {
        const struct policy_problem *p = &f->problems.items[i];

        assert_int_equal(p->line, expected[i].line);
        assert_int_equal(p->column, expected[i].column);
        assert_string_equal(p->where, expected[i].where);
        assert_string_equal(p->message, expected[i].message);
    }
    assert_int_equal(f->boat.finished, 1);
}

static void cross_checks_report_at_their_key(void **state)
{
    struct fixture *f = *state;

    bind_text(f, "name: a\nlength: 13\n");
    assert_int_equal(f->problems.count, 1);
    assert_int_equal(f->problems.error_count, 0);
    assert_int_equal(f->problems.items[0].line, 2);
    assert_int_equal(f->problems.items[0].column, 9);
    assert_string_equal(f->problems.items[0].where, "length");
}

static char *written(void (*write)(FILE *out, const struct schema_section *root))
{
    char *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    write(out, &boat_section);
    fclose(out);
    return text;
}

static void tables_write_schema_and_reference(void **state)
{
    char *json = written(schema_write_json), *reference = written(schema_write_reference);

    UNUSED(state);
    assert_non_null(strstr(json, "\"additionalProperties\": false"));
    assert_non_null(strstr(json, "\"$ref\": \"#/definitions/tender\""));
    assert_non_null(strstr(json, "\"const\": \"barge\""));
    assert_non_null(strstr(json, "\"minimum\": 2,\n      \"maximum\": 100"));
    assert_non_null(strstr(json, "\"pattern\": \"^[0-9]+$|^any$|\\\\$\\\\{\""));
    assert_non_null(strstr(json, "\"description\": \"sail (default: true)\""));
    assert_non_null(strstr(reference, "| `name` | name | **required** | its name |\n"));
    assert_non_null(strstr(reference, "| `length` | number | `12` | from \\| to (2 to 100) |\n"));
    assert_non_null(strstr(reference, "### `tenders[]`\n"));
    free(json);
    free(reference);
}

static void durations_and_sizes(void **state)
{
    static const struct {
        const char *text;
        uint64_t us;
    } durations[] = {{"0", 0},
                     {"1ms", 1000},
                     {"1m30s", 90000000},
                     {"2d3h", 183600000000},
                     {"1week", 604800000000},
                     {"5minutes", 300000000},
                     {"213503982d", 0}};
    static const struct {
        const char *text;
        uint64_t bytes;
    } sizes[] = {{"0", 0},         {"512", 512},
                 {"16k", 16384},   {"16KiB", 16384},
                 {"1Mi", 1 << 20}, {"17179869183GiB", UINT64_C(17179869183) << 30}};
    static const char *const bad_sizes[] = {"", "k", "17179869184GiB", "1KB", "1 k", "-1", "1.5k"};
    struct scalar_fault fault;
    uint64_t number;

    UNUSED(state);
    for (size_t i = 0; i + 1 < COUNT_OF(durations); i++) {
        assert_true(scalar_read_duration(slice_of(durations[i].text), "s", &number, &fault));
        assert_int_equal(number, durations[i].us);
    }
    assert_false(scalar_read_duration(SLICE("213503983d"), "s", &number, &fault));
    assert_false(scalar_read_duration(SLICE(""), "s", &number, &fault));
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        assert_true(scalar_read_bytes(slice_of(sizes[i].text), &number, &fault));
        assert_int_equal(number, sizes[i].bytes);
    }
    for (size_t i = 0; i < COUNT_OF(bad_sizes); i++)
        assert_false(scalar_read_bytes(slice_of(bad_sizes[i]), &number, &fault));
}

static void rates(void **state)
{
    static const struct {
        const char *text;
        uint64_t count, period_us;
        enum scalar_calendar calendar;
    } good[] = {
        {"10/minute", 10, 60000000, SCALAR_EXACT},
        {"5/10s", 5, 10000000, SCALAR_EXACT},
        {"1000000000/ms", 1000000000, 1000, SCALAR_EXACT},
        {"1/1h30m", 1, 5400000000, SCALAR_EXACT},
        {"1/366d", 1, SCALAR_YEAR_US, SCALAR_EXACT},
        {"7/month", 7, SCALAR_MONTH_US, SCALAR_MONTH},
        {"7/year", 7, SCALAR_YEAR_US, SCALAR_YEAR},
    };
    static const char *const bad[] = {"",    "/",      "1/",       "/s",    "1/0s",
                                      "0/s", "1/367d", "1/1month", "1/s/s", "1000000001/s",
                                      "1/S", "+1/s",   "1/-1s",    "1 /s",  "1/ s"};
    struct scalar_fault fault;
    struct scalar_rate rate;

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        assert_true(scalar_read_rate(slice_of(good[i].text), &rate, &fault));
        assert_int_equal(rate.count, good[i].count);
        assert_int_equal(rate.period_us, good[i].period_us);
        assert_int_equal(rate.calendar, good[i].calendar);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        fault.verdict[0] = '\0';
        assert_false(scalar_read_rate(slice_of(bad[i]), &rate, &fault));
        assert_true(fault.verdict[0] != '\0');
    }
}

static void networks(void **state)
{
    struct scalar_fault fault;
    struct in6_addr network;
    unsigned bits;

    UNUSED(state);
    assert_true(scalar_read_cidr(SLICE("10.0.0.0/8"), &network, &bits, &fault));
    assert_int_equal(bits, 104);
    assert_int_equal(network.s6_addr[10], 0xFF);
    assert_int_equal(network.s6_addr[12], 10);
    assert_true(scalar_read_cidr(SLICE("2001:db8::/32"), &network, &bits, &fault));
    assert_int_equal(bits, 32);
    assert_true(scalar_read_cidr(SLICE("::1"), &network, &bits, &fault));
    assert_int_equal(bits, 128);
    assert_false(scalar_read_cidr(SLICE("10.0.0.1/8"), &network, &bits, &fault));
    assert_false(scalar_read_cidr(SLICE("10.0.0.0/"), &network, &bits, &fault));
    assert_false(scalar_read_cidr(SLICE("10.0.0/8"), &network, &bits, &fault));
    assert_false(scalar_read_cidr(SLICE(""), &network, &bits, &fault));
}

static void listen_addresses(void **state)
{
    static const char *const good[] = {"0.0.0.0:8080", "[::]:80", ":0", "127.0.0.1:65535",
                                       "unix:/run/x.sock"};
    static const char *const bad[] = {
        "",       ":",      "8080",           "0.0.0.0",       "0.0.0.0:65536",
        "[::1]",  "::1:80", "[127.0.0.1]:80", "x:80",          "unix:",
        "unix:/", "unix:x", "[]:80",          "1.2.3.4:80:90", "0.0.0.0:-1"};
    struct scalar_fault fault;

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(good); i++)
        assert_true(scalar_read_listen(slice_of(good[i]), &fault));
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (scalar_read_listen(slice_of(bad[i]), &fault))
            fail_msg("\"%s\" must be refused", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(defaults_go_through_the_readers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(values_are_bound_by_offset, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_problem_has_its_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cross_checks_report_at_their_key, set_up, tear_down),
        cmocka_unit_test(tables_write_schema_and_reference),
        cmocka_unit_test(durations_and_sizes),
        cmocka_unit_test(rates),
        cmocka_unit_test(networks),
        cmocka_unit_test(listen_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
