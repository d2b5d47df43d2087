use std::sync::atomic::AtomicBool;
use qlab_pbft::Pbft;
use qlab_simulator::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let choice: Choice = a[3].parse().unwrap();
    let (from, to): (u64, u64) = (a[1].parse().unwrap(), a[2].parse().unwrap());
    let liars: Option<usize> = a.get(4).and_then(|x| x.parse().ok());
    let trace = a.get(5).is_some();
    if trace {
        let setup = Setup::<Pbft> { tells_story: true, liars, ..Setup::default() };
        let s = campaign::schedule::<Pbft>(from, choice);
        let (s, o) = if a[5] == "shrink" { cut_down(&s, &setup).expect("fails") } else { let o = attempt(&s, &setup); (s, o) };
        println!("{}", s.in_words());
        for l in &o.story { println!("{l}"); }
        println!("{:?} {:?} events {}", o.violation, o.simulated, o.events);
        return;
    }
    let t = std::time::Instant::now();
    let stop = AtomicBool::new(false);
    let s = campaign::campaign::<Pbft>(from..to, choice, || Setup { liars, ..Setup::default() }, &stop, || ());
    for f in &s.failures { println!("seed {} {} : {}", f.seed, f.law, f.what); }
    println!("worlds {} ms/world(2 cores) {:.1} ops {} events {} simulated {:?} per world", s.seeds, t.elapsed().as_secs_f64()*2e3/s.seeds as f64, s.operations, s.events, s.simulated/(s.seeds as u32));
    for (m, c) in s.marks.iter() { print!("{m}: {c}; "); }
    println!();
}
