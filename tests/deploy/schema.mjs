// Judges policies by the schema alone, as an editor does: node schema.mjs SCHEMA FILE...
// prints {"FILE": [complaints]}.  YAML that cannot be read is a complaint too.
import { readFileSync } from "node:fs";
import Ajv from "ajv";
import { parse } from "yaml";

const [schema, ...files] = process.argv.slice(2);
const ajv = new Ajv({ allErrors: true, strict: true, allowUnionTypes: true });
const validate = ajv.compile(JSON.parse(readFileSync(schema, "utf8")));
const found = {};
for (const file of files) {
  try {
    const value = parse(readFileSync(file, "utf8"), { prettyErrors: true, version: "1.2" });
    found[file] = validate(value) ? [] : validate.errors.map((e) => `${e.instancePath || "/"}: ${e.message}`);
  } catch (error) {
    found[file] = [`yaml: ${error.message.split("\n")[0]}`];
  }
}
console.log(JSON.stringify(found));
