import { defineConfig, type Plugin } from "vite";

/**
 * uPlot is one closure that bundlers cannot shake: leave out its path builders, table joins and date formats, which
 * this page (it draws lines itself, and its x is never a date) does not use. Fails loudly if uPlot changes.
 */
function slimUplot(): Plugin {
  const cuts: [string, string][] = [
    ["const linearPath = linear() ;", "const linearPath = null;"],
    ["\tuPlot.join = join;\n", ""],
    ["\tuPlot.fmtDate = fmtDate;\n\tuPlot.tzDate  = tzDate;\n", ""],
    ["\tuPlot.addGap = addGap;\n\tuPlot.clipGaps = clipGaps;\n", ""],
    ["\t(paths.linear  = linear);\n\t(paths.stepped = stepped);\n", ""],
    ["\t(paths.bars    = bars);\n\t(paths.spline  = monotoneCubic);\n", ""],
  ];
  return {
    name: "slim-uplot",
    transform(code, id) {
      if (!id.includes("uPlot.esm.js")) return null;
      for (const [from, to] of cuts) {
        if (!code.includes(from)) throw new Error(`slim-uplot: uPlot has no longer ${JSON.stringify(from)}`);
        code = code.replace(from, to);
      }
      return { code, map: null };
    },
  };
}

// Relative addresses everywhere: the page must work behind a proxy's prefix such as /board/.
export default defineConfig({
  base: "./",
  plugins: [slimUplot()],
  build: {
    outDir: "../static",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: false,
    assetsInlineLimit: 0, // inlined assets would need exceptions in the Content-Security-Policy
    cssCodeSplit: false,
  },
});
