import { defineConfig, type Plugin } from "vite";

/**
 * uPlot is one closure that bundlers cannot shake. This page takes its axes, cursor, selection and synchronisation, but
 * draws the lines itself, has a legend of its own, and its x is never a date: leave the rest out (10 of 22 kB gzipped).
 * Each cut must be found, so that another uPlot is noticed when it is built.
 */
function slimUplot(): Plugin {
  const cuts: [RegExp, string][] = [
    [/const linearPath = linear\(\) ;/, "const linearPath = null;"],
    [/\{\s*uPlot\.join = join;\s*\}\s*\{\s*uPlot\.fmtDate[^}]*\}/, ""],
    [/\{\s*uPlot\.addGap[\s\S]*?monotoneCubic\);\s*\}/, ""],
    [/const FEAT_TIME +=/, "const FEAT_TIME = false; const unused ="],
    [/let isTime = sc\.time;/g, "const isTime = false;"],
    [/let isTime = mode == 1 && scales\[s\.scale\]\.time;/, "const isTime = false;"],
    [/const _time(AxisSplits|AxisVals|SeriesVal) += .*;/g, "const _time$1 = null;"],
    [/const \[ ?timeIncrs\w+, .*= genTimeStuffs\(.*\);/g, ""],
    [/\(isTime \? \(ms == 1 \? timeIncrsMs : timeIncrsS\) : numIncrs\)/, "numIncrs"],
    [/(days|months)\.map\(slice3\)/g, "[]"],
    [/const localTz = .*;/, ""],
    [/function drawSeries\(\) \{/, "function drawSeries() {}\nfunction unusedSeries() {"],
    [/const pointsPath = points\(\) ;/, "const pointsPath = null;"],
    [/function setLegend\(opts, _fire\) \{/, "function setLegend() {}\nfunction unusedLegend(opts, _fire) {"],
    [/legend\.live/g, "false"],
    [/uPlot\.(assign|fmtNum|rangeNum|rangeLog|rangeAsinh|orient) +?= .*;/g, ""],
    [/self\.(delSeries|addBand|setBand|delBand) = .*;/g, ""],
    [/const mode = self\.mode;/, "const mode = 1;"],
    [/function initCursorPt\(s, si\) \{/, "function initCursorPt() {}\nfunction unusedPoint(s, si) {"],
    [/sc\.distr == 4 \? asinhAxisSplits :/, ""],
    [/const showLegend = legend\.show;/, "const showLegend = false;"],
  ];
  return {
    name: "slim-uplot",
    transform(code, id) {
      if (!id.includes("uPlot.esm.js")) return null;
      for (const [from, to] of cuts) {
        if (code.search(from) < 0) throw new Error(`slim-uplot: uPlot has no longer ${from}`);
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
