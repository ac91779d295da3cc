/** The buttons by which a figure is saved. */

import { download } from "./app";

export type Kind = "svg" | "png";

interface SaveProps {
  title: string;
  /** The figure as a text or a picture; null where there is none yet. */
  make: (kind: Kind) => string | Promise<Blob> | null;
}

export function SaveFigure({ title, make }: SaveProps) {
  const save = async (kind: Kind) => {
    const content = await make(kind);
    if (content)
      download(
        `${title.replace(/\W+/g, "-")}.${kind}`,
        content,
        kind === "svg" ? "image/svg+xml" : "image/png",
      );
  };
  return (
    <>
      <button type="button" onClick={() => void save("svg")}>
        Save as SVG
      </button>
      <button type="button" onClick={() => void save("png")}>
        Save as PNG
      </button>
    </>
  );
}
