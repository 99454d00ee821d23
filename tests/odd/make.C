// What tests/odd/make.py compiles: one function for each kind of file.
#include <ROOT/RField.hxx>
#include <ROOT/RNTupleModel.hxx>
#include <ROOT/RNTupleReader.hxx>
#include <ROOT/RNTupleWriteOptions.hxx>
#include <ROOT/RNTupleWriter.hxx>
#include <TChain.h>
#include <TFile.h>
#include <TLorentzVector.h>
#include <TTree.h>

#include <array>
#include <bitset>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

struct Point { float x; int n; };
struct Jet { float pt; Point at; std::vector<float> w; };
struct Inner { float a; int b; };
struct Base { int id; };
struct Track : public Base { float pt; std::vector<float> hits; Inner in; };
struct Event { int run; Track lead; std::vector<Track> tracks; float arr[3]; std::string s; };
using Either = std::variant<int, float>;

#ifdef __ROOTCLING__
#pragma link C++ struct Point+;
#pragma link C++ struct Jet+;
#pragma link C++ class std::vector<Jet>+;
#pragma link C++ struct Inner+;
#pragma link C++ struct Base+;
#pragma link C++ struct Track+;
#pragma link C++ class std::vector<Track>+;
#pragma link C++ struct Event+;
#endif


// Several clusters in several groups of clusters; some fields begin in the middle of a cluster.
void write_ntuple(int entries)
{
   auto model = ROOT::RNTupleModel::Create();
   auto plain = model->MakeField<float>("plain");
   using Real = ROOT::RField<float>;
   using Double = ROOT::RField<double>;
   auto real = [&](const char *name, auto change) {
      auto field = std::make_unique<Real>(name);
      change(*field);
      model->AddField(std::move(field));
   };
   real("half", [](Real &field) { field.SetHalfPrecision(); });
   real("cut", [](Real &field) { field.SetTruncated(20); });
   real("quant", [](Real &field) { field.SetQuantized(20, {-1.f, 1023.f}); });
   auto cut = std::make_unique<Double>("dcut");
   cut->SetTruncated(24);
   model->AddField(std::move(cut));
   auto whole = std::make_unique<Double>("dhalf");
   whole->SetHalfPrecision();
   model->AddField(std::move(whole));
   auto point = model->MakeField<Point>("point");
   auto jets = model->MakeField<std::vector<Jet>>("jets");
   auto either = model->MakeField<Either>("either");
   auto list = model->MakeField<std::vector<Either>>("eithers");
   auto maybe = model->MakeField<std::optional<float>>("maybe");
   auto three = model->MakeField<std::array<int, 3>>("three");
   auto bits = model->MakeField<std::bitset<10>>("bits");
   auto deep = model->MakeField<std::vector<std::vector<double>>>("deep");

   ROOT::RNTupleWriteOptions options;
   options.SetCompression(505);
   options.SetMaxUnzippedPageSize(512);
   options.SetInitialUnzippedPageSize(64);
   auto writer = ROOT::RNTupleWriter::Recreate(std::move(model), "t", "ntuple.root", options);
   auto entry = writer->CreateEntry();
   auto fill = [&](ROOT::REntry &one, int i) {
      *one.GetPtr<float>("plain") = i;
      *one.GetPtr<float>("half") = i;
      *one.GetPtr<float>("cut") = i;
      *one.GetPtr<float>("quant") = i;
      *one.GetPtr<double>("dcut") = i;
      *one.GetPtr<double>("dhalf") = i;
      *one.GetPtr<Point>("point") = Point{1.f * i, 2 * i};
      auto &jet = *one.GetPtr<std::vector<Jet>>("jets");
      jet.clear();
      for (int k = 0; k < i % 4; ++k)
         jet.push_back({1.f * i + k, {1.f * k, i}, std::vector<float>(k, 1.5f)});
      auto number = [](int n) { return n % 3 ? Either(n) : Either(0.25f * n); };
      *one.GetPtr<Either>("either") = number(i);
      auto &more = *one.GetPtr<std::vector<Either>>("eithers");
      more.clear();
      for (int k = 0; k < i % 3; ++k)
         more.push_back(number(i + k));
      auto &option = *one.GetPtr<std::optional<float>>("maybe");
      option.reset();
      if (i % 2)
         option = i;
      *one.GetPtr<std::array<int, 3>>("three") = {i, i + 1, i + 2};
      *one.GetPtr<std::bitset<10>>("bits") = i;
      auto &lists = *one.GetPtr<std::vector<std::vector<double>>>("deep");
      lists.clear();
      for (int k = 0; k < i % 3; ++k)
         lists.push_back(std::vector<double>(k + 1, i));
   };
   for (int i = 0; i < entries / 2; ++i) {
      fill(*entry, i);
      writer->Fill(*entry);
      if (i % 40 == 39)
         writer->CommitCluster(i % 80 == 79);
   }
   auto updater = writer->CreateModelUpdater();
   updater->BeginUpdate();
   updater->AddField(std::make_unique<ROOT::RField<float>>("late"));
   updater->AddField(std::make_unique<ROOT::RField<std::vector<float>>>("late_list"));
   updater->AddField(std::make_unique<ROOT::RField<Point>>("late_point"));
   updater->AddField(std::make_unique<ROOT::RField<std::array<int, 3>>>("late_three"));
   updater->CommitUpdate();
   auto later = writer->CreateEntry();
   for (int i = entries / 2; i < entries; ++i) {
      fill(*later, i);
      *later->GetPtr<float>("late") = i;
      later->GetPtr<std::vector<float>>("late_list")->assign(i % 3, i);
      *later->GetPtr<Point>("late_point") = Point{1.f * i, 2 * i};
      *later->GetPtr<std::array<int, 3>>("late_three") = {i, i + 1, i + 2};
      writer->Fill(*later);
      if (i % 40 == 39)
         writer->CommitCluster(i % 80 == 79);
   }
}

std::map<std::string, double> sum_ntuple()
{
   auto reader = ROOT::RNTupleReader::Open("t", "ntuple.root");
   std::map<std::string, double> sums;
   auto sum = [&](const std::string &name, auto type, auto value, const std::string &part = "") {
      auto view = reader->GetView<decltype(type)>(name);
      for (auto i : reader->GetEntryRange())
         sums[name + part] += value(view(i));
   };
   auto same = [](auto value) { return double(value); };
   for (auto name : {"plain", "half", "cut", "quant", "late"})
      sum(name, float(), same);
   for (auto name : {"dcut", "dhalf"})
      sum(name, double(), same);
   auto number = [](const Either &one) { return std::visit([](auto x) { return double(x); }, one); };
   auto all = [](const auto &list, auto value) {
      double total = 0;
      for (const auto &one : list)
         total += value(one);
      return total;
   };
   sum("either", Either(), number);
   sum("eithers", std::vector<Either>(), [&](const auto &list) { return all(list, number); });
   auto number_of = [](const Jet &jet) { return jet.at.n; };
   auto weight_of = [&](const Jet &jet) { return all(jet.w, same); };
   sum("jets", std::vector<Jet>(), [&](const auto &jets) { return all(jets, number_of); }, ".at.n");
   sum("jets", std::vector<Jet>(), [&](const auto &jets) { return all(jets, weight_of); }, ".w");
   sum("maybe", std::optional<float>(), [](const auto &one) { return one ? *one : 0.; });
   for (auto name : {"three", "late_three"})
      sum(name, std::array<int, 3>(), [&](const auto &list) { return all(list, same); });
   sum("bits", std::bitset<10>(), [](const auto &one) { return one.count(); });
   auto each = [&](const auto &list) { return all(list, same); };
   sum("deep", std::vector<std::vector<double>>(), [&](const auto &lists) { return all(lists, each); });
   sum("late_list", std::vector<float>(), [&](const auto &list) { return all(list, same); });
   for (auto name : {"point", "late_point"}) {
      sum(std::string(name) + ".n", int(), same);
      sum(std::string(name) + ".x", float(), same);
   }
   return sums;
}

void write_cycles()
{
   TFile file("cycles.root", "RECREATE");
   int x;
   TTree tree("t", "");
   tree.Branch("x", &x);
   for (x = 0; x < 25; ++x) {
      tree.Fill();
      if (x == 9)
         tree.Write(); // t;1, which stays
   }
   tree.Write();
}

void write_friends()
{
   TFile file("friends.root", "RECREATE");
   int x, y;
   auto &tree = *new TTree("t", ""), &other = *new TTree("o", "");
   tree.Branch("x", &x);
   other.Branch("x", &x);
   other.Branch("y", &y);
   for (x = 0; x < 30; ++x) {
      y = 2 * x;
      tree.Fill();
      other.Fill();
   }
   other.BuildIndex("x");
   tree.AddFriend("o");
   tree.BuildIndex("x");
   file.Write();
   TFile last("chain.root", "RECREATE");
   TChain chain("t");
   chain.Add("friends.root");
   chain.Write("chain");
}

// One file with no entries, and one with some.
void write_full()
{
   for (int entries : {0, 40}) {
      TFile file(entries ? "full.root" : "empty.root", "RECREATE");
      float x, a[10];
      int n;
      std::vector<float> v;
      TTree tree("t", "");
      tree.Branch("x", &x);
      tree.Branch("v", &v);
      tree.Branch("n", &n);
      tree.Branch("a", a, "a[n]/F");
      for (int i = 0; i < entries; ++i) {
         x = i;
         v.assign(i % 3, i);
         n = i % 5;
         for (int k = 0; k < n; ++k)
            a[k] = k;
         tree.Fill();
      }
      tree.Write();
   }
}

void write_leaves()
{
   TFile file("leaves.root", "RECREATE");
   struct { float p; int q; } s;
   Float16_t h;
   Double32_t d;
   bool b;
   float m[2][3];
   TTree tree("t", "");
   tree.Branch("s", &s, "p/F:q/I");
   tree.Branch("h", &h, "h/f[0,100,12]");
   tree.Branch("d", &d, "d/d[0,1000,20]");
   tree.Branch("b", &b, "b/O");
   tree.Branch("m", m, "m[2][3]/F");
   for (int i = 0; i < 50; ++i) {
      s = {1.f * i, 2 * i};
      h = i;
      d = 0.5 * i;
      b = i % 2;
      for (int k = 0; k < 6; ++k)
         m[k / 3][k % 3] = i + k;
      tree.Fill();
   }
   tree.Write();
}

void write_objects()
{
   TFile file("objects.root", "RECREATE");
   auto &split = *new TTree("split", ""), &whole = *new TTree("whole", "");
   Event event;
   TLorentzVector vector;
   split.Branch("event", &event, 32000, 99);
   split.Branch("second.", &event, 32000, 99);
   whole.Branch("event", &event, 32000, 0);
   whole.Branch("lv", &vector, 32000, 0);
   whole.Branch("tracks", &event.tracks, 32000, 0);
   for (int i = 0; i < 60; ++i) {
      event.run = i;
      event.lead.id = i;
      event.lead.pt = 0.5 * i;
      event.lead.hits.assign(i % 3, i);
      event.lead.in = {1.f * i, i};
      event.tracks.resize(i % 4);
      int k = 0;
      for (auto &track : event.tracks) {
         track.id = k;
         track.pt = i + k++;
         track.hits.assign(k, 1);
         track.in = {1, k};
      }
      vector.SetXYZM(i, 2 * i, 3 * i, 1);
      split.Fill();
      whole.Fill();
   }
   file.Write();
}

// A branch that is made when some entries are there already, and one that another file holds.
void write_short()
{
   TFile file("short.root", "RECREATE");
   auto beside = new TFile("beside.root", "RECREATE"); // the branch closes it
   file.cd();
   int x, y, z;
   auto &tree = *new TTree("t", "");
   tree.Branch("x", &x);
   tree.Branch("z", &z)->SetFile(beside);
   for (x = 0; x < 30; ++x) {
      y = z = x;
      if (x == 10)
         tree.Branch("y", &y);
      tree.Fill();
   }
   file.Write();
   beside->Write();
}

void write_all(int entries)
{
   write_ntuple(entries);
   write_cycles();
   write_friends();
   write_full();
   write_leaves();
   write_objects();
   write_short();
}
