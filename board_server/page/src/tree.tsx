/** Any JSON as nested lists of names and values. */

import { Short } from "./controls";
import { exactValue, formatValue } from "./format";
import { isObject, type Json, type JsonObject } from "./json";

/** What a model card says of an array: one line is enough. */
const isArrayType = (value: JsonObject): value is { dtype: string; shape: Json[] } =>
  typeof value.dtype === "string" && Array.isArray(value.shape);

export function Tree({ value }: { value: Json | undefined }) {
  if (value === null || value === undefined) return <span class="none">none</span>;
  if (typeof value === "number") return <Short text={formatValue(value)} exact={exactValue(value)} />;
  if (Array.isArray(value) && value.some(isObject))
    return (
      <ol>
        {value.map((one, i) => (
          <li key={String(i)}>
            <Tree value={one} />
          </li>
        ))}
      </ol>
    );
  if (!isObject(value))
    return (
      <>
        {Array.isArray(value) && value.length
          ? value
              .map((one) => formatValue(one))
              .join(value.some((one) => typeof one === "string") ? " " : " × ")
          : formatValue(value)}
      </>
    );
  if (isArrayType(value)) return <>{`${value.dtype}[${value.shape.join(", ")}]`}</>;
  return (
    <dl class="tree">
      {Object.entries(value).map(([name, inner]) => (
        <div key={name} class={isObject(inner) && !isArrayType(inner) ? "nested" : ""}>
          <dt>{name}</dt>
          <dd>
            <Tree value={inner} />
          </dd>
        </div>
      ))}
    </dl>
  );
}

/** A config as `a.b.c` -> value. */
export function flatten(
  value: Json | undefined,
  prefix = "",
  into: Record<string, string> = {},
): Record<string, string> {
  if (isObject(value))
    for (const [name, inner] of Object.entries(value))
      flatten(inner, prefix ? `${prefix}.${name}` : name, into);
  else into[prefix] = exactValue(value);
  return into;
}
