// Draws a dashboard with Grafana's own components, of answers that Prometheus gave: `window.board` has the dashboard's JSON,
// `window.answers` by panel and query what was answered, `window.range` the time shown, in milliseconds.
//
// Bundled by set-up into one file. What Grafana itself does around these components is done here by hand: names of curves,
// units, mappings, thresholds, and the one table that is made of a panel's queries.
import React from 'react';
import { createRoot } from 'react-dom/client';

// As modules they take the scrollbars' package for one, which it is not, and a table cannot be drawn.
const { createDataFrame, createTheme, dateTime, FieldType, getDisplayProcessor } = require('@grafana/data');
const { BigValue, GlobalStyles, PanelChrome, Table, ThemeContext, TimeSeries } = require('@grafana/ui');

const COLUMNS = 24;
const WIDTH = 1440;
const ROW = 38;
const GAP = 8;

const theme = createTheme({ colors: { mode: 'dark' } });
const timeZone = 'utc';

// Icons come from Grafana's server. Here is none: each is empty, and nothing is asked for.
window.fetch = () => Promise.resolve(new Response('<svg xmlns="http://www.w3.org/2000/svg"/>', {
  headers: { 'content-type': 'image/svg+xml' },
}));
const { from, to } = window.range;
const timeRange = { from: dateTime(from), to: dateTime(to), raw: { from: dateTime(from), to: dateTime(to) } };

// What went wrong, for whoever looks at the page.
window.troubles = [];
window.addEventListener('error', (event) => window.troubles.push(String(event.message)));
window.addEventListener('unhandledrejection', (event) => window.troubles.push(String(event.reason)));

function configured(config, name) {
  const thresholds = config.thresholds && {
    ...config.thresholds,
    // JSON has no infinity.
    steps: config.thresholds.steps.map((step) => ({ ...step, value: step.value ?? -Infinity })),
  };
  return { ...config, thresholds, displayName: name };
}

function shown(field) {
  return { ...field, display: getDisplayProcessor({ field, theme, timeZone }) };
}

// As in Grafana: `{{class}}` stands for the label's value.
function legend(target, labels) {
  return target.legendFormat.replace(/{{\s*(\w+)\s*}}/g, (_, label) => labels[label] ?? '') || target.expr;
}

function frames(panel) {
  const series = panel.targets.flatMap((target) =>
    window.answers[panel.id][target.refId].map((one) => ({ name: legend(target, one.metric), ...one })));
  return series.map(({ name, metric, values }, index) => {
    const config = configured(panel.fieldConfig.defaults, name);
    const frame = createDataFrame({
      fields: [
        { name: 'Time', type: FieldType.time, values: values.map(([time]) => time * 1000), config: {} },
        { name, type: FieldType.number, values: values.map(([, value]) => Number(value)), config, labels: metric },
      ],
    });
    frame.fields = frame.fields.map((field) => shown({ ...field, state: { seriesIndex: index, displayName: field.name } }));
    return frame;
  });
}

function Curves({ panel, width, height }) {
  const data = frames(panel);
  if (data.length === 0) {
    return <div className="nothing">{panel.fieldConfig.defaults.noValue}</div>;
  }
  return <TimeSeries frames={data} structureRev={1} timeRange={timeRange} timeZone={timeZone} width={width} height={height}
    legend={panel.options.legend} options={{}} tweakAxis={(axis) => axis} />;
}

function Stat({ panel, width, height }) {
  const data = frames(panel);
  if (data.length === 0) {
    return <div className="nothing">{panel.fieldConfig.defaults.noValue}</div>;
  }
  const { colorMode, graphMode, justifyMode, textMode } = panel.options;
  const each = width / data.length;
  return <div style={{ display: 'flex' }}>{data.map((frame, index) => {
    const [x, y] = frame.fields;
    const value = y.display(y.values[y.values.length - 1]);
    return <BigValue key={index} width={each} height={height} theme={theme} value={value} count={data.length} colorMode={colorMode}
      graphMode={graphMode} justifyMode={justifyMode} textMode={textMode} sparkline={{ x, y, timeRange }} />;
  })}</div>;
}

// The transformations `merge` and `organize`: a row for each set of the labels that all queries have, columns by their new names
// and order.
function rows(panel) {
  const [, { options: { renameByName, indexByName, excludeByName } }] = panel.transformations;
  const answers = panel.targets.map(({ refId }) => ({ refId, series: window.answers[panel.id][refId] }));
  const all = answers.flatMap(({ series }) => series);
  const common = (label) => all.every(({ metric }) => label in metric);
  const merged = new Map();
  for (const { refId, series } of answers) {
    const column = panel.targets.length === 1 ? 'Value' : `Value #${refId}`;
    for (const { metric, value: [, value] } of series) {
      const labels = Object.entries(metric).filter(([label]) => !excludeByName[label]);
      const by = ([a], [b]) => indexByName[a] - indexByName[b];
      const key = JSON.stringify(labels.filter(([label]) => common(label)).sort(by).map(([, value]) => value));
      merged.set(key, { ...Object.fromEntries(labels), ...merged.get(key), [column]: Number(value) });
    }
  }
  const columns = Object.keys(indexByName).sort((a, b) => indexByName[a] - indexByName[b]);
  const sorted = [...merged.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row);
  return createDataFrame({
    fields: columns.map((column) => {
      const name = renameByName[column];
      const overrides = panel.fieldConfig.overrides.filter(({ matcher }) => matcher.options === name);
      const properties = Object.fromEntries(overrides.flatMap(({ properties }) => properties.map(({ id, value }) => [id, value])));
      const { 'custom.cellOptions': cellOptions, links, ...own } = properties;
      const { custom, ...defaults } = panel.fieldConfig.defaults;
      const config = configured({ ...defaults, ...own, custom: { ...custom, cellOptions: cellOptions ?? custom.cellOptions } }, name);
      const type = column.startsWith('Value') ? FieldType.number : FieldType.string;
      return { name, type, values: sorted.map((row) => row[column] ?? null), config };
    }),
  });
}

function Rows({ panel, width, height }) {
  const frame = rows(panel);
  if (frame.length === 0) {
    return <div className="nothing">{panel.fieldConfig.defaults.noValue}</div>;
  }
  frame.fields = frame.fields.map((field) => shown({ ...field, state: { displayName: field.name }, getLinks: () => [] }));
  return <Table data={frame} width={width} height={height} showTypeIcons={false} />;
}

const KINDS = { timeseries: Curves, stat: Stat, table: Rows };

class Guarded extends React.Component {
  state = { failed: false };
  static getDerivedStateFromError() {
    return { failed: true };
  }
  componentDidCatch(error) {
    window.troubles.push(`${this.props.title}: ${error}`);
  }
  render() {
    return this.state.failed ? null : this.props.children;
  }
}

function Panel({ panel }) {
  const { x, y, w, h } = panel.gridPos;
  const unit = WIDTH / COLUMNS;
  const place = { position: 'absolute', left: x * unit, top: y * ROW, width: w * unit - GAP, height: h * ROW - GAP };
  const Kind = KINDS[panel.type];
  if (!Kind) {
    return <h3 style={{ ...place, margin: 0, fontWeight: 500 }} data-panel={panel.title} data-kind={panel.type}>{panel.title}</h3>;
  }
  return <div style={place} data-panel={panel.title} data-kind={panel.type}>
    <Guarded title={panel.title}>
      <PanelChrome title={panel.title} description={panel.description} width={place.width} height={place.height}>
        {(width, height) => <Kind panel={panel} width={width} height={height} />}
      </PanelChrome>
    </Guarded>
  </div>;
}

function Board() {
  const { title, panels } = window.board;
  const bottom = Math.max(...panels.map(({ gridPos: { y, h } }) => y + h)) * ROW;
  const chosen = Object.entries(window.chosen).map(([name, value]) => `${name}: ${value}`).join('   ');
  return <ThemeContext.Provider value={theme}>
    <GlobalStyles />
    <main style={{
      background: theme.colors.background.canvas, color: theme.colors.text.primary, padding: 16, width: WIDTH + 24,
      fontFamily: theme.typography.fontFamily, fontSize: 14,
    }}>
      <h2 style={{ margin: '0 0 4px', fontWeight: 500 }}>{title}</h2>
      <div style={{ margin: '0 0 12px', color: theme.colors.text.secondary, whiteSpace: 'pre-wrap' }}>{chosen}</div>
      <div style={{ position: 'relative', height: bottom }}>{panels.map((panel) => <Panel key={panel.id} panel={panel} />)}</div>
    </main>
  </ThemeContext.Provider>;
}

createRoot(document.getElementById('board')).render(<Board />);
